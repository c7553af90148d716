"""Recipe sections about images: where they are, how they are divided, what their audit may find."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from effmed.recipe.kinds import AuditKind, Auto, Fraction, OpenFraction, Positive, Section, Seed


class DataSettings(Section):
    """Where images, labels and patients are found, and how images are divided."""

    image_column: str = "auto"
    """Column of the label table with the image path; auto: path, image, file, filename."""
    label_column: str = "auto"
    """Column with the class; auto: label, class, target, diagnosis, y, or one 0/1 column per class."""
    label_columns: tuple[str, ...] = ()
    """One column per class or label (1, 0, -1 uncertain, blank), where they are not found by themselves."""
    label_separator: Annotated[str, Field(min_length=1)] = "auto"
    """What stands between the labels of a cell of the label column; auto: | where a cell holds it."""
    task: Literal["binary", "multiclass", "multilabel"] | Auto = "auto"
    """Whether labels exclude each other; auto: multilabel where a row has several or none, -1 or blanks."""
    min_positive: Annotated[int, Field(ge=0)] = 0
    """Of several labels, leave out those that fewer images have; 0: a label that no training image has is an error."""
    patient_column: str = "auto"
    """Column with the patient; auto: patient_id, patient, subject_id, subject."""
    study_column: str = "auto"
    """Column with the study; auto: study_id, study, study_uid, accession."""
    split_column: str = "auto"
    """Column with train, val or test; auto: split, set, fold_name."""
    view_column: str = "auto"
    """Column with the view or projection; auto: view, view_position, projection."""
    sex_column: str = "auto"
    """Column with the sex; auto: sex, gender."""
    age_column: str = "auto"
    """Column with the age in years; auto: age, age_years."""
    site_column: str = "auto"
    """Column with the hospital or source; auto: site, hospital, center, centre, institution."""
    patient_pattern: str = ""
    """Regular expression whose first group, searched in the relative path, is the patient."""
    one_image_per_patient: bool = False
    """State that every image is of another patient, where no patient id exists."""
    keep_ids: bool = False
    """Write patient and study ids as they are, not pseudonyms keyed to this machine, into manifest and predictions."""
    positive_class: str = "auto"
    """Of two classes, the one whose probability is reported; auto: the one not named like 'normal'."""
    max_unreadable_fraction: Fraction = 0.0
    """Share of images that may be unreadable before the command stops."""
    val_fraction: OpenFraction = 0.15
    """Share of the patients for validation."""
    test_fraction: OpenFraction = 0.15
    """Share of the patients for the test."""
    split_seed: Seed = 0
    """Seed of the division of patients."""
    window: str = "stored"
    """'stored' (the file's first, else percentiles), 'percentile', 'full', 'center/width', or several with commas."""
    frames: Literal["error", "first", "middle", "all"] = "error"
    """What a multi-frame file means."""
    frame_rule: Literal["mean", "max"] = "mean"
    """How the logits of a file's frames become one where data.frames=all; the best epoch is chosen by single frames."""
    level: Literal["image", "study", "patient"] = "image"
    """What one prediction is about; decided at training, the same for val, test and predict."""
    level_rule: Literal["mean", "max", "noisy-or"] = "mean"
    """How the logits of a study's or patient's images become one; the best epoch is chosen by single images."""
    max_megapixels: Positive = 200.0
    """Rows x columns x frames above which a file is refused before decoding, in 10^6."""
    depth: Literal["uint8", "uint16"] | Auto = "auto"
    """Grey levels that are kept and shown to the network; auto: 16 bits where a grey image has more than 8."""
    reduced_decode: bool = False
    """Decode JPEG 2000 at 1/2, 1/4 … while that is at least twice the target; faster, changes grey levels slightly."""


class AuditSettings(Section):
    """What the audit of the data may find without stopping a training."""

    allow: tuple[AuditKind, ...] = ()
    """Grave findings to accept, such as [shortcut]; 'effmed inspect' names what it finds."""
