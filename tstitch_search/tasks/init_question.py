"""The question that a study written by `init` asks: its metric, by which everything is judged."""

import re
from enum import Enum
from typing import Any

import yaml

from tstitch_search.config.models.quality import COMPARING, PAIRED

# So many images decide a question of pairs (benchmarks/results/paired_against_fid.md): while searching, to confirm.
SEARCH_IMAGES, CONFIRM_IMAGES = 100, 200
SECTION = re.compile(r"^quality:.*\n(?:[ \t]+.*\n|#.*\n)*", re.MULTILINE)
CONFIRM = re.compile(r"^(confirm: \{n_images: )(\d+)", re.MULTILINE)


class Question(Enum):
    """The value is what `--question` takes."""

    SAME = "same"
    AS_GOOD = "as-good"

    @property
    def words(self) -> str:
        """As the docs say it."""
        return "the same pictures, faster" if self is Question.SAME else "as good, faster"

    @property
    def other(self) -> "Question":
        """The one that is not asked."""
        return Question.AS_GOOD if self is Question.SAME else Question.SAME


def question_in(study: str) -> Question:
    """What the text of a study file asks: its objective decides."""
    objective = yaml.safe_load(study)["quality"].get("objective", "fid")
    return Question.SAME if objective in PAIRED else Question.AS_GOOD


def asking(study: str, question: Question) -> str:
    """The text of a study file with another objective where it asks the other question; otherwise as it is."""
    if question_in(study) is question:
        return study
    quality = _quality(yaml.safe_load(study)["quality"], question)
    head = (
        f"# Question: {question.words}, by {quality['objective']} (docs/statistics.md). The study was written for the\n"
        "# other question: what a comment says of its metric or its numbers of images does not hold here.\n"
    )
    section = yaml.safe_dump({"quality": quality}, sort_keys=False, default_flow_style=None, width=1000)
    text = SECTION.sub(lambda _: section, study, count=1)
    if question is Question.SAME:
        text = CONFIRM.sub(lambda found: f"{found[1]}{min(int(found[2]), CONFIRM_IMAGES)}", text)
    return head + text


def _quality(given: dict[str, Any], question: Question) -> dict[str, Any]:
    """The section for the question: no metric in it compares with real images."""
    is_ours = given.get("extractor") == "fashion-cnn"
    objective = "clip_score" if question is Question.AS_GOOD else "perceptual" if is_ours else "ssim"
    further = [name for name in given.get("metrics", ()) if name not in (*COMPARING, objective)]
    guard = given.get("guard", {})
    left_out = {"objective", "metrics", "reference", "control_images"}
    if guard.get("metric") in COMPARING and guard.get("reference") != "anchor":
        left_out.add("guard")
    made = {"objective": objective, **({"metrics": further} if further else {})}
    made |= {key: value for key, value in given.items() if key not in left_out}
    if question is Question.SAME:
        made["n_images"] = min(given.get("n_images", SEARCH_IMAGES), SEARCH_IMAGES)
    return made
