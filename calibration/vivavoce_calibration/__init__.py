"""Evidence: read a corpus, score it, measure error rates and turn scores into log-likelihood ratios."""

from __future__ import annotations
