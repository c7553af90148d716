import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.learn.choosing import choose_variant
from effmed.learn.plan import Machine
from effmed.learn.scaling import VARIANTS
from effmed.learn.scaling.costs import training_bytes, training_seconds
from effmed.learn.weights.candidates import CONSIDERED, Candidates
from effmed.learn.weights.sets import default_set
from effmed.recipe import make_recipe
from tests.learn.make import fingerprint

GB = 10**9
FAST = 1e12
FAMILY = ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")


def candidates(*names):
    names = names or CONSIDERED
    accuracies = tuple(default_set(name).top1_percent for name in names)
    return Candidates(tuple(VARIANTS[name] for name in names), accuracies, "as the test has it")


def choose(*names, px=5000, patients=10**6, images=1000, memory=10**14, minutes=0.0, device="cuda", **recipe):
    """Choose where nothing limits but what the test says."""
    wanted = make_recipe({"train": {"time_budget_min": minutes, **recipe.pop("train", {})}, **recipe})
    data = fingerprint(
        images_per_split={"train": images, "val": 100, "test": 100},
        patients_per_split={"train": patients, "val": 10, "test": 10},
        height_px=(10.0, float(px) / 2, 9000.0),
        width_px=(10.0, float(px), 9000.0),
    )
    machine = Machine(device, device, 2, has_bfloat16=True, memory_bytes=memory, speed=FAST)
    variant, reason = choose_variant(wanted, data, machine, candidates(*names))
    return variant.name, reason


def test_without_limits_it_is_the_largest():
    name, reason = choose()
    assert name == "b7"
    assert reason == (
        "the largest of lite0, b0, b1, b2, b3, b4, b5, b6, b7, as the test has it, that is within 5000 px, "
        "1,000,000 training patients, 100000 GB of memory and no time budget; there is no larger one"
    )


@pytest.mark.parametrize(("px", "name"), [(225, "b0"), (299, "b2"), (300, "b3"), (455, "b4"), (600, "b7")])
def test_the_input_is_no_larger_than_the_longer_side_of_the_images(px, name):
    assert choose(px=px)[0] == name


def test_small_images_are_named_as_what_refuses_the_next_one():
    reason = choose(px=299)[1]
    assert reason.endswith("b3 is not: it is made for 300 px, more than images of 299 px show")


@pytest.mark.parametrize(
    ("patients", "name"), [(1, "b0"), (353, "b0"), (354, "b1"), (500, "b2"), (999, "b2"), (1000, "b3"), (16000, "b7")]
)
def test_a_step_of_phi_takes_twice_the_patients(patients, name):
    assert choose(patients=patients)[0] == name


def test_few_patients_are_named_as_what_refuses_the_next_one():
    reason = choose(patients=1999)[1]
    assert reason.endswith("b4 is not: it is taken from 2,000 training patients on (250 × 2^φ for φ = 3)")


def test_images_count_where_no_patient_is_known():
    name, reason = choose(patients=0, images=600)
    assert name == "b2"
    assert "600 training images (no patient is known)" in reason


@pytest.mark.parametrize(("device", "share", "batch"), [("cpu", 0.5, 32), ("mps", 0.5, 32), ("cuda", 0.7, 64)])
def test_a_step_fits_into_a_share_of_the_memory(device, share, batch):
    table, width = VARIANTS["b3"].scaled_table, 2 if device == "cuda" else 4
    enough = int(training_bytes(table, 300, batch, bytes_per_number=width) / share) + 1
    assert choose("b2", "b3", memory=enough, device=device)[0] == "b3"
    name, reason = choose("b2", "b3", memory=enough - 10, device=device)
    assert name == "b2"
    assert f"b3 is not: a step of {batch} images takes about" in reason


def test_smaller_batches_and_half_precision_fit_where_larger_and_full_do_not():
    assert choose("b2", "b3", memory=12 * GB)[0] == "b2"
    assert choose("b2", "b3", memory=12 * GB, train={"batch_size": 16})[0] == "b3"
    assert choose("b2", "b3", memory=20 * GB)[0] == "b3"
    assert choose("b2", "b3", memory=20 * GB, train={"precision": "float32"})[0] == "b2"


def test_unknown_memory_is_no_limit_and_said():
    name, reason = choose(memory=0)
    assert name == "b7"
    assert "memory unknown" in reason


def test_the_estimated_training_is_within_the_budget():
    seconds = training_seconds(VARIANTS["b3"].scaled_table, 300, n_train=5000, n_val=500, speed=FAST)
    assert choose(minutes=seconds / 60 + 1e-6)[0] == "b3"
    name, reason = choose(minutes=seconds / 60 - 1e-6)
    assert name == "b2"
    assert "b3 is not: 5 epochs take about 0.5 min, more than the 0.4" in reason
    assert choose(minutes=seconds / 60 - 1e-6, train={"epochs": 4})[0] == "b3"


@pytest.mark.parametrize("several", [{"folds": 4}, {"seeds": 4}])
def test_the_budget_is_for_all_networks_of_an_ensemble(several):
    seconds = training_seconds(VARIANTS["b3"].scaled_table, 300, n_train=5000, n_val=500, speed=FAST)
    assert choose(minutes=4 * seconds / 60 + 1e-6, train=several)[0] == "b3"
    name, reason = choose(minutes=4 * seconds / 60 - 1e-6, train=several)
    assert name == "b2"
    assert "5 epochs of 4 networks take about" in reason


def test_every_limit_that_refuses_is_named():
    reason = choose(px=290, patients=700, memory=2 * GB, minutes=0.01)[1]
    assert reason.startswith("the smallest of lite0")
    assert "it too is beyond a limit: a step of 64 images" in reason
    reason = choose("b0", "b4", px=290, patients=700)[1]
    assert "it is made for 380 px" in reason
    assert "from 2,000 training patients on" in reason


def test_a_given_side_takes_the_place_of_the_images_and_sets_what_a_step_costs():
    assert choose(px=10_000, model={"image_size": 310})[0] == "b3"
    name, reason = choose(px=10_000, model={"image_size": 160})
    assert name == "lite0"
    assert "it is made for 224 px, more than model.image_size = 160 px show" in reason
    at_300 = choose("b0", "b2", memory=12 * GB)[0]
    assert (at_300, choose("b0", "b2", memory=12 * GB, model={"image_size": 900})[0]) == ("b2", "b0")


def test_what_a_smaller_network_beats_is_left_out():
    assert "lite1" not in choose()[1]
    assert choose("lite0", "lite1", "lite2", "b7", px=300)[0] == "lite2"
    assert choose("lite1", "b0")[0] == "b0"


GMACS = {name: VARIANTS[name].counts(VARIANTS[name].resolution_px).multiply_adds for name in CONSIDERED}
LIMITS = {
    "px": st.integers(1, 1000),
    "patients": st.integers(0, 20_000),
    "memory": st.integers(1, 400 * GB),
    "minutes": st.floats(0.001, 60),
}


@pytest.mark.slow
@given(
    base=st.fixed_dictionaries(LIMITS),
    key=st.sampled_from(sorted(LIMITS)),
    more=st.floats(1, 100),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    names=st.sets(st.sampled_from(CONSIDERED), min_size=1),
)
def test_more_of_anything_never_leads_to_a_smaller_network(base, key, more, device, names):
    base = base | {"patients": max(1, base["patients"])}
    larger = base | {key: type(base[key])(base[key] * more)}
    before, _ = choose(*sorted(names), device=device, **base)
    after, _ = choose(*sorted(names), device=device, **larger)
    assert GMACS[after] >= GMACS[before]
    assert {before, after} <= names


@pytest.mark.slow
@given(images=st.integers(1, 10**6), more=st.floats(1, 100), memory=st.integers(1, 400 * GB))
def test_more_images_do_not_need_more_memory(images, more, memory):
    few, many = (choose(images=n, memory=memory)[0] for n in (images, int(images * more)))
    assert few == many


def test_the_family_rises_in_accuracy_so_that_none_is_ever_left_out():
    assert [name for name in FAMILY if name in choose(*FAMILY)[1].split(", as the test")[0]] == list(FAMILY)
