"""Small pictures of a report's worst errors."""

import cv2
import numpy as np
import pytest

from effmed import workflows
from effmed.data.pixels import Preprocessing
from effmed.errors import RecipeError
from effmed.evaluate.render import named_images
from effmed.evaluate.report import make_report
from effmed.recipe import ReportSettings
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.scoring import make_thumbnails
from effmed.workflows.talk import Silence
from tests import make
from tests.evaluate import make as tables

FEW_DRAWS = ReportSettings(bootstrap_replicates=100)


class Heard(Silence):
    """Remembers what it was warned of."""

    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def spec(**changes):
    values = {"height": 32, "width": 32, "channels": 1, "depth": "uint16", "window": "stored", "max_megapixels": 100}
    return Preprocessing(**(values | changes))


def report_of(names):
    return make_report(tables.binary(len(names), image=names), tables.context(), FEW_DRAWS)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def radiographs(tmp_path):
    """A report on DICOM files that lie in a folder, each with a brightness of its own."""
    names = [f"{k}.dcm" for k in range(30)]
    for k, name in enumerate(names):
        make.dicom(tmp_path / name, pixels=np.full((20, 40), 100 * k, np.uint16), WindowCenter=2048, WindowWidth=4096)
    return report_of(names), tmp_path


def test_every_named_image_has_the_picture_that_its_file_shows(radiographs):
    report, folder = radiographs
    pictures = make_thumbnails(report, folder, spec(), Silence())
    assert set(pictures) == set(named_images(report))
    for (name, _), png in pictures.items():
        picture = decoded(png)
        assert (picture.shape, picture.dtype) == ((160, 160), np.uint8)
        assert abs(int(picture[80, 80]) - 255 * 100 * int(name.split(".")[0]) / 4095) < 2
        assert picture[0, 0] == 0


def test_several_windows_are_shown_as_the_first(radiographs):
    report, folder = radiographs
    both = make_thumbnails(report, folder, spec(window="2048/4096,100/10", channels=2), Silence())
    assert both == make_thumbnails(report, folder, spec(window="2048/4096"), Silence())


def test_colours_keep_their_order(tmp_path):
    names = [f"{k}.png" for k in range(30)]
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 200  # OpenCV's order
    for name in names:
        cv2.imwrite(str(tmp_path / name), red)
    pictures = make_thumbnails(report_of(names), tmp_path, spec(channels=3), Silence())
    assert decoded(next(iter(pictures.values())))[80, 80].tolist() == [0, 0, 200]


def test_an_image_that_cannot_be_read_has_no_picture_and_that_is_said(radiographs):
    report, folder = radiographs
    gone, *others = named_images(report)
    (folder / gone[0]).unlink()
    heard = Heard()
    assert set(make_thumbnails(report, folder, spec(), heard)) == set(others)
    (warning,) = heard.warnings
    assert warning.startswith(f"1 of {len(others) + 1} images among the errors have no picture, such as {gone[0]}: ")


def test_members_of_an_npz_file_have_pictures(tmp_path):
    pixels = np.arange(30, dtype=np.uint8)[:, None, None] * np.full((1, 28, 28), 8, np.uint8)
    np.savez(tmp_path / "set.npz", test_images=pixels)
    report = make_report(tables.binary(30, image="test_images", frame=np.arange(30)), tables.context(), FEW_DRAWS)
    pictures = make_thumbnails(report, tmp_path / "set.npz", spec(depth="uint8"), Silence())
    assert pictures
    assert all(decoded(png)[80, 80] == 8 * frame for (_, frame), png in pictures.items())


def test_a_report_without_errors_needs_no_picture(tmp_path):
    report = make_report(tables.binary(30), tables.context(), FEW_DRAWS.model_copy(update={"n_worst": 0}))
    assert make_thumbnails(report, tmp_path / "nowhere", spec(), Silence()) == {}


def test_without_the_setting_no_image_is_looked_for(radiographs):
    report, folder = radiographs
    assert workflows.thumbnails(report, folder / "no-run", find_recipe(None, []), data=None) == {}


def test_a_predictions_table_has_no_pictures(tmp_path):
    wanted = find_recipe(None, ["report.thumbnails=true"])
    with pytest.raises(RecipeError, match="a predictions table has no pictures") as caught:
        workflows.evaluate_table(tmp_path / "table.csv", wanted)
    assert "--data FOLDER" in caught.value.hint
