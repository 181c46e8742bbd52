"""Corpora in every layout: what is read, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from vivavoce.errors import ConfigurationError
from vivavoce_calibration import corpora
from vivavoce_calibration.corpora import LAYOUTS, CorpusError, Trial, read_corpus

LA19 = ["LA_0079 LA_T_1138215 - - bonafide", "LA_0079 LA_T_1271820 - A01 spoof"]
LA21 = [
    "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
    "LA_0009 LA_E_5464494 none loc_tx bonafide bonafide notrim eval",
    "LA_0010 LA_E_1000003 opus mad_tx bonafide bonafide notrim progress",
    "LA_0010 LA_E_1000004 gsm mad_tx A12 spoof trim hidden",
]
DF21 = [
    "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -",
    "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval neural_vocoder Task1 team20 FF E",
    "TGF1 DF_E_2000024 mp3m4a vcc2020 bonafide bonafide notrim eval bonafide - - FF G",
]
ASV5 = ["T_4850 T_0000000000 F - - - AC3 A05 spoof -", "T_3734 T_0000000011 F C05 2 T_1 - bonafide bonafide -"]
ITW = ["file,speaker,label", '0.wav,"Guinness, Alec",spoof', "1.wav,Ayn Rand,bona-fide"]
CTR = [
    "m4singer CtrSVDD_0110 CtrSVDD_0110_E_0015416 - - bonafide",
    "jvsmusic CtrSVDD_0097 CtrSVDD_0097_E_0010993 - A09 deepfake",
    "jvsmusic CtrSVDD_0097 CtrSVDD_0097_E_0010994 - A14 deepfake",
    "acesinger CtrSVDD_0164 CtrSVDD_0164_E_0000001 - - bonafide",
]
PARTIAL = ["LA_0079 CON_T_0000029 - CON spoof", "LA_0079 LA_T_1234567 - - bonafide"]

CORPORA: dict[str, dict[str, list[str]]] = {
    "asvspoof2019_la": {"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt": LA19},
    "asvspoof2021_la": {"keys/LA/CM/trial_metadata.txt": LA21, "ASVspoof2021.LA.cm.eval.trl.txt": ["LA_E_9332881"]},
    "asvspoof2021_df": {"keys/DF/CM/trial_metadata.txt": DF21},
    "asvspoof5": {"ASVspoof5.train.tsv": ASV5, "ASVspoof5.dev.track_2.trial.tsv": ["D_1 D_2 F A05 spoof"]},
    "in_the_wild": {"release_in_the_wild/meta.csv": ITW},
    "ctrsvdd": {"test.txt": CTR},
    "partialspoof": {"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.train.trl.txt": PARTIAL},
    "vivavoce": {"protocols/mine.LA.cm.train.trn.txt": LA19},
}
"""For each layout the lists of a small corpus, as the corpora ship them."""


def write_lists(root: Path, lists: dict[str, list[str]]) -> None:
    for name, lines in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_audio(root: Path, ids: Iterable[str], suffix: str = ".flac") -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name in ids:
        (root / f"{name}{suffix}").touch()


def make(root: Path, layout: str) -> Path:
    """A corpus of the layout in `root`, with all audio of its lists in one folder."""
    write_lists(root, CORPORA[layout])
    parsed = [trial for lines in CORPORA[layout].values() if len(lines) > 1 for trial in LAYOUTS[layout].parse(lines)]
    write_audio(root / "flac", (trial.id for trial in parsed))
    return root


@pytest.mark.parametrize("layout", CORPORA)
def test_layout_is_recognised_and_every_trial_has_its_file(tmp_path: Path, layout: str) -> None:
    trials = read_corpus(make(tmp_path, layout), subset="all", complete=True)
    assert trials == read_corpus(tmp_path, layout=layout, subset="all", complete=True)
    assert all(trial.audio.is_file() and trial.audio.stem == trial.id for trial in trials)
    assert {trial.key for trial in trials} == {"bonafide", "spoof"}
    assert all(trial.system is None for trial in trials if trial.key == "bonafide")


def test_what_asvspoof_2021_tells_of_a_trial(tmp_path: Path) -> None:
    spoof, bonafide = read_corpus(make(tmp_path / "la", "asvspoof2021_la"))
    assert (spoof.speaker, spoof.system, spoof.codec, spoof.transmission) == ("LA_0009", "A07", "alaw", "ita_tx")
    assert (bonafide.key, bonafide.system, bonafide.codec) == ("bonafide", None, "none")
    spoof, bonafide = read_corpus(make(tmp_path / "df", "asvspoof2021_df"))
    assert (spoof.codec, spoof.source, spoof.vocoder) == ("low_m4a", "vcc2020", "neural_vocoder")
    assert (spoof.language, bonafide.language, bonafide.vocoder, bonafide.system) == ("E", "G", None, None)
    assert read_corpus(tmp_path / "df", subset="all")[0].codec == "none"


def test_asvspoof_2021_reports_on_its_eval_subset_by_default(tmp_path: Path) -> None:
    make(tmp_path, "asvspoof2021_la")
    assert [trial.subset for trial in read_corpus(tmp_path)] == ["eval", "eval"]
    assert Counter(trial.subset for trial in read_corpus(tmp_path, subset="all")) == {
        "eval": 2,
        "progress": 1,
        "hidden": 1,
    }
    with pytest.raises(CorpusError, match=r'has no subset "test"\. Choose one of: progress, eval, hidden, all'):
        read_corpus(tmp_path, subset="test")


def test_what_asvspoof_5_tells_of_a_trial(tmp_path: Path) -> None:
    spoof, bonafide = read_corpus(make(tmp_path, "asvspoof5"))
    assert (spoof.system, spoof.codec, spoof.subset) == ("A05", "none", "train")
    assert (bonafide.system, bonafide.codec, bonafide.speaker) == (None, "C05", "T_3734")


def test_in_the_wild_names_may_hold_commas(tmp_path: Path) -> None:
    spoof, bonafide = read_corpus(make(tmp_path, "in_the_wild"))
    assert (spoof.id, spoof.speaker, spoof.key) == ("0", "Guinness, Alec", "spoof")
    assert (bonafide.id, bonafide.key) == ("1", "bonafide")


def test_ctrsvdd_leaves_out_a14_and_acesinger_unless_complete(tmp_path: Path) -> None:
    make(tmp_path, "ctrsvdd")
    assert [(trial.system, trial.source) for trial in read_corpus(tmp_path)] == [
        (None, "m4singer"),
        ("A09", "jvsmusic"),
    ]
    assert len(read_corpus(tmp_path, complete=True)) == 4


def test_metadata_tells_what_a_list_has_no_column_for(tmp_path: Path) -> None:
    make(tmp_path, "vivavoce")
    assert read_corpus(tmp_path)[0].duration is None
    write_lists(
        tmp_path,
        {
            "metadata.csv": [
                "utterance,speaker,language,source,stored,kbps,duration_s,system_type",
                "LA_T_1138215,,en,librispeech,flac,0,2.5,-",
                "LA_T_1271820,tts_1,de,festival,ogg,24,4.0,tts_concat",
            ]
        },
    )
    bonafide, spoof = read_corpus(tmp_path)
    assert (bonafide.speaker, bonafide.codec, bonafide.duration) == (None, "flac", 2.5)
    assert (spoof.speaker, spoof.codec, spoof.language, spoof.source) == ("tts_1", "ogg24", "de", "festival")
    assert (bonafide.system_type, spoof.system_type) == (None, "tts_concat")
    write_lists(tmp_path, {"metadata.csv": ["utterance,speaker", "LA_T_1138215,x"]})
    with pytest.raises(CorpusError, match=r"metadata\.csv has no column duration_s, kbps"):
        read_corpus(tmp_path)


def test_plain_folders(tmp_path: Path) -> None:
    write_audio(tmp_path / "Real", ["1", "2"], ".wav")
    write_audio(tmp_path / "fake" / "tts.v2", ["1"], ".OGG")
    write_audio(tmp_path / "noise", ["1"])
    trials = read_corpus(tmp_path)
    assert [(trial.id, trial.key) for trial in trials] == [
        ("Real/1", "bonafide"),
        ("Real/2", "bonafide"),
        ("fake/tts.v2/1", "spoof"),
    ]
    assert all(trial.audio.is_file() for trial in trials)


def test_folders_tell_speakers_systems_and_subsets(tmp_path: Path) -> None:
    for place in ("dev/bonafide/ann", "dev/spoof/voicer", "train/bonafide", "train/spoof"):
        write_audio(tmp_path / place, ["1"], ".wav")
    found = {(one.id, one.key, one.speaker, one.system) for one in read_corpus(tmp_path, subset="dev", or_all=True)}
    assert found == {
        ("dev/bonafide/ann/1", "bonafide", "ann", None),
        ("dev/spoof/voicer/1", "spoof", None, "voicer"),
    }


def test_two_folders_are_taken_whole_where_a_subset_is_only_a_wish(tmp_path: Path) -> None:
    for place in ("bonafide", "spoof"):
        write_audio(tmp_path / place, ["1"], ".wav")
    assert len(read_corpus(tmp_path, subset="dev", or_all=True)) == 2
    with pytest.raises(CorpusError, match=r'subset "dev"'):
        read_corpus(tmp_path, subset="dev")
    with pytest.raises(CorpusError, match="two folders, bonafide and spoof"):
        read_corpus(tmp_path / "spoof")


def test_every_label_word_is_understood() -> None:
    for word, key in corpora.LABEL_WORDS.items():
        (trial,) = corpora.parse_asvspoof2019([f"s a - - {word.upper()}"])
        assert trial.key == key
    assert sorted(corpora.LABEL_WORDS) == sorted(
        ["bonafide", "bona-fide", "bona_fide", "real", "genuine", "human", "spoof", "fake", "deepfake"]
    )


def test_names_with_dots_and_audio_in_any_format_are_found(tmp_path: Path) -> None:
    lines = ["s a.1 - - bonafide", "", "s a.2 - A01 spoof"]
    write_lists(tmp_path, {"x.LA.cm.eval.trl.txt": lines})
    write_audio(tmp_path / "deep" / "er", ["a.1"], ".mp3")
    write_audio(tmp_path, ["a.2"], ".WAV")
    write_audio(tmp_path, ["a"], ".txt")
    assert [trial.audio.name for trial in read_corpus(tmp_path)] == ["a.1.mp3", "a.2.WAV"]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path / "audio", "vivavoce")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "here").symlink_to(tmp_path / "audio", target_is_directory=True)
    (tmp_path / "audio" / "loop").symlink_to(corpus, target_is_directory=True)
    assert len(read_corpus(corpus)) == 2


def test_subsets_that_share_a_folder_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "vivavoce")
    write_lists(tmp_path, {"protocols/mine.LA.cm.dev.trl.txt": ["s d1 - - bonafide", "s d2 - A02 spoof"]})
    write_audio(tmp_path / "flac", ["d1", "d2"])
    assert [trial.id for trial in read_corpus(tmp_path, subset="dev")] == ["d1", "d2"]
    assert Counter(trial.subset for trial in read_corpus(tmp_path)) == {"train": 2, "dev": 2}


def test_enrolment_audio_is_expected_only_where_the_corpus_ships_it(tmp_path: Path) -> None:
    for layout, expected in {"asvspoof2019_la": True, "asvspoof5": True, "partialspoof": False}.items():
        write_audio(make(tmp_path / layout, layout) / "flac", ["enrolment"])
        if expected:
            assert len(read_corpus(tmp_path / layout)) == 2
        else:
            with pytest.raises(CorpusError, match=r"1 audio files beside the trials are in no list: enrolment\.flac"):
                read_corpus(tmp_path / layout)


def test_a_corpus_error_is_a_configuration_error() -> None:
    assert issubclass(CorpusError, ConfigurationError)


Edit = Callable[[list[str]], list[str]]

REFUSED: dict[str, tuple[str, Edit, str]] = {
    "only bona fide": ("asvspoof2019_la", lambda lines: lines[:1], "none of the 1 trials is spoof"),
    "only spoof": ("asvspoof2021_la", lambda lines: [lines[0], lines[3]], "none of the 1 trials is bonafide"),
    "empty": ("in_the_wild", lambda lines: lines[:1], "none of the 0 trials is bonafide"),
    "unknown label": (
        "asvspoof2019_la",
        lambda lines: [lines[0], lines[1].replace("spoof", "cloned")],
        'line 2 has the unknown label "cloned". Use one of: bonafide, bona-fide',
    ),
    "unknown subset": (
        "asvspoof2021_df",
        lambda lines: [lines[0].replace("progress", "test")],
        'line 1 has the unknown subset "test"',
    ),
    "2019 parser, 2021 LA keys": (
        "asvspoof2019_la",
        lambda lines: LA21,
        "line 1 has 8 columns instead of 5. ASVspoof 2021",
    ),
    "2019 parser, 2021 DF keys": (
        "asvspoof2019_la",
        lambda lines: DF21,
        "line 1 has 13 columns instead of 5. ASVspoof",
    ),
    "2021 LA parser, 2019 list": (
        "asvspoof2021_la",
        lambda lines: [line.replace("_T_", "_E_") for line in LA19],
        "line 1 has 5 columns instead of 8. ASVspoof 2019 lists have 5",
    ),
    "2021 DF parser, keys of its first stage": (
        "asvspoof2021_df",
        lambda lines: ["- DF_E_2000011 - - - spoof - progress"],
        "line 1 has 8 columns instead of 13",
    ),
    "cut line": ("asvspoof5", lambda lines: [lines[0], lines[1][:20]], "line 2 has 2 columns instead of 10"),
    "cut row": ("in_the_wild", lambda lines: [*lines[:2], "1.wav,Ayn Rand"], "line 3 has 2 columns instead of 3"),
    "listed twice": (
        "partialspoof",
        lambda lines: [*lines, lines[0]],
        "1 ids are listed more than once: CON_T_0000029",
    ),
    "no audio": (
        "ctrsvdd",
        lambda lines: [*lines, *(f"kising s CtrSVDD_{i} - - bonafide" for i in range(5))],
        "5 of 7 ids have no audio under .*: CtrSVDD_0, CtrSVDD_1, CtrSVDD_2, …",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_lists_that_do_not_add_up_are_refused(tmp_path: Path, case: str) -> None:
    layout, edit, message = REFUSED[case]
    make(tmp_path, layout)
    name, lines = next(iter(CORPORA[layout].items()))
    write_lists(tmp_path, {name: edit(lines)})
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path, layout=layout)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("layout", ["asvspoof2019_la", "in_the_wild"])
def test_lists_may_have_a_byte_order_mark_and_companions(tmp_path: Path, layout: str, encoding: str) -> None:
    make(tmp_path, layout)
    expected = read_corpus(tmp_path)
    for name, lines in CORPORA[layout].items():
        mark = "" if encoding in ("utf-16", "utf-8-sig") else "\ufeff"
        (tmp_path / name).write_text(mark + "\n".join(lines) + "\n", encoding=encoding)
        (tmp_path / name).with_name(f"._{Path(name).name}").write_bytes(b"\0\5\x16\7")
    expected[0].audio.with_name(f"._{expected[0].audio.name}").write_bytes(b"\0\5\x16\7")
    assert read_corpus(tmp_path) == expected


def test_recording_of_an_unknown_kind_in_a_labelled_folder_is_named(tmp_path: Path) -> None:
    write_audio(tmp_path / "bonafide", ["1"], ".wav")
    write_audio(tmp_path / "spoof", ["1"], ".m4a")
    assert len(read_corpus(tmp_path)) == 2
    (tmp_path / "spoof" / "notes.txt").write_text("beside")
    (tmp_path / "spoof" / "take.1").write_bytes(b"fLaC")
    assert {trial.id for trial in read_corpus(tmp_path)} == {"bonafide/1", "spoof/1", "spoof/take"}
    (tmp_path / "spoof" / "x.unknown").write_bytes(b"whatever")
    with pytest.raises(CorpusError, match=r"of no kind that is known: spoof/x\.unknown"):
        read_corpus(tmp_path)


def test_a_list_of_bytes_that_are_no_text_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "asvspoof2019_la")
    (tmp_path / next(iter(CORPORA["asvspoof2019_la"]))).write_bytes(b"s \xff\xfe - - bonafide\n")
    with pytest.raises(CorpusError, match="read as ASVspoof 2019 LA"):
        read_corpus(tmp_path)


def test_two_files_for_one_id_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "asvspoof2019_la")
    write_audio(tmp_path / "wav", ["LA_T_1138215"], ".wav")
    with pytest.raises(CorpusError, match=r"1 ids have two audio files, such as .*flac and .*wav\. Leave one"):
        read_corpus(tmp_path)


def test_layouts_that_cannot_be_told_are_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no list of a known layout\. Name the layout, one of: asvspoof2019_la, "):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match=r'no corpus layout "asvspoof"\. Choose one of: .*folders'):
        read_corpus(tmp_path, layout="asvspoof")
    with pytest.raises(CorpusError, match=r"has no list of In-the-Wild\. Add meta\.csv"):
        read_corpus(tmp_path, layout="in_the_wild")
    with pytest.raises(CorpusError, match="is not a folder"):
        read_corpus(tmp_path / "absent")
    make(tmp_path, "asvspoof2021_la")
    make(tmp_path, "asvspoof2021_df")
    with pytest.raises(CorpusError, match="holds lists of asvspoof2021_df and asvspoof2021_la"):
        read_corpus(tmp_path)
    assert len(read_corpus(tmp_path, layout="asvspoof2021_la")) == 2


def test_what_adds_to_another_corpus_may_have_one_class(tmp_path: Path) -> None:
    protocol = tmp_path / "ASVspoof2019.LA.cm.train.trn.txt"
    protocol.write_text(LA19[0] + "\n", encoding="utf-8")
    identity = LA19[0].split()[1]
    (tmp_path / f"{identity}.flac").touch()
    with pytest.raises(CorpusError, match="none of the 1 trials is"):
        read_corpus(tmp_path)
    assert [trial.id for trial in read_corpus(tmp_path, extra=True)] == [identity]
    protocol.write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match="none of the 0 trials is"):
        read_corpus(tmp_path, extra=True)


def test_a_trial_is_small_and_cannot_change() -> None:
    trial = Trial("a", Path("a.wav"), "spoof")
    assert not hasattr(trial, "__dict__")
    with pytest.raises(AttributeError):
        trial.key = "bonafide"  # type: ignore[misc]


def test_the_vivavoce_corpus(shared: Path) -> None:
    trials = read_corpus(shared / "corpus")
    counts = Counter((trial.subset, trial.key) for trial in trials)
    assert counts == {
        ("train", "bonafide"): 3407,
        ("train", "spoof"): 5178,
        ("dev", "bonafide"): 519,
        ("dev", "spoof"): 819,
        ("eval", "bonafide"): 350,
        ("eval", "spoof"): 400,
    }
    assert len({trial.system for trial in trials if trial.subset == "eval"} - {None}) == 29
    assert all(trial.source and trial.language and trial.duration and trial.codec for trial in trials)
    assert not any(trial.speaker in ("", "nan") for trial in trials)
    dev = read_corpus(shared / "corpus", subset="dev")
    assert dev == [trial for trial in trials if trial.subset == "dev"]
    unseen = read_corpus(shared / "corpus", subset="dev", only=["seen=no"])
    assert Counter(trial.seen for trial in unseen) == {None: 519, "no": 583}
    assert {trial.licence_class for trial in dev} == {"open", "research", "nc"}


def test_trials_are_chosen_by_what_the_corpus_tells_of_them(tmp_path: Path) -> None:
    for speaker, word in (("a", "bonafide"), ("b", "bonafide"), ("tts", "spoof"), ("vc", "spoof")):
        (tmp_path / word / speaker).mkdir(parents=True)
        (tmp_path / word / speaker / "1.wav").touch()
    assert {trial.system for trial in read_corpus(tmp_path, only=["system=vc"]) if trial.key == "spoof"} == {"vc"}
    assert len(read_corpus(tmp_path, only=["language=en"])) == 4
    for wrong in ("audio=1.wav", "system", "system="):
        with pytest.raises(CorpusError, match="chooses no trials"):
            read_corpus(tmp_path, only=[wrong])
