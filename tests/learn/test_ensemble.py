"""Ensemble: the mean of the logits, and the bundles that hold it."""

import json

import numpy as np
import pytest
import torch

from effmed.apply.predict import score_pixels
from effmed.learn.bundle import Bundle, Member, read_bundle, read_sheet, weights_digest, write_bundle
from effmed.learn.ensemble import Ensemble
from effmed.learn.network import build_network
from tests.learn import make


def networks(plan, n=3):
    made = []
    for seed in range(n):
        torch.manual_seed(seed)
        made.append(build_network(plan))
        torch.nn.init.normal_(made[-1].get_classifier().weight, std=100.0)  # a fresh head's logits are near 0
    return made


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_logits_are_the_mean_of_the_members(classes, tmp_path):
    plan = make.plan(classes=classes, task="binary" if len(classes) == 2 else "multiclass")
    parts = networks(plan)
    sheet = read_sheet(make.bundle(tmp_path / "one", plan))
    pixels = make.images(5).pixels
    alone = [score_pixels(Bundle(sheet, plan, part.eval()), pixels) for part in parts]
    together = score_pixels(Bundle(sheet, plan, Ensemble(parts).eval()), pixels)
    assert together.shape == (5, plan.n_outputs)
    assert np.allclose(together, np.mean(alone, axis=0), atol=1e-5)
    assert np.ptp(alone, axis=0).min() > 1e-2


def test_the_mean_is_taken_in_full_precision():
    class Half(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, batch):
            return torch.full((len(batch), 1), self.value, dtype=torch.bfloat16)

    found = Ensemble([Half(1.0), Half(1.0), Half(1.0078125)])(torch.zeros(2, 1))
    assert found.dtype == torch.float32
    assert found[0, 0] == pytest.approx(1 + 0.0078125 / 3)


def test_a_bundle_keeps_every_network_and_its_order(tmp_path):
    plan = make.plan()
    parts, sheet = networks(plan), read_sheet(make.bundle(tmp_path / "one", plan))
    digests = [weights_digest(part) for part in parts]
    members = tuple(Member(name=f"fold-{k}", weights_sha256=each, best_epoch=k) for k, each in enumerate(digests, 1))
    whole = Ensemble(parts)
    made = sheet.model_copy(update={"members": members, "weights_sha256": weights_digest(whole)})
    write_bundle(tmp_path / "all", made, whole, "# card")
    again = read_bundle(tmp_path / "all")
    assert [weights_digest(part) for part in again.network.members] == digests
    assert again.sheet.epochs_text == "1, 2, 3"
    assert not any(part.training for part in again.network.modules())


def test_a_bundle_from_before_there_were_ensembles_is_read(tmp_path):
    folder = make.bundle(tmp_path / "old", make.plan())
    path = folder / "bundle.json"
    sheet = json.loads(path.read_text())
    del sheet["members"]
    for name in ("folds", "seeds"):
        del sheet["plan"][name]
    path.write_text(json.dumps(sheet))
    bundle = read_bundle(folder)
    assert (bundle.sheet.version, bundle.sheet.members, bundle.plan.n_networks) == (1, (), 1)
    assert not isinstance(bundle.network, Ensemble)
