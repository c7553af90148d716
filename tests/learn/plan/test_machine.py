import pytest

from effmed.errors import RecipeError
from effmed.learn.plan import SET_BY_RECIPE, Machine, Reasons, for_processes
from effmed.learn.plan.machine import plan_batch, plan_machine, plan_memory, plan_precision
from effmed.recipe import make_recipe
from tests.learn.make import plan

GB = 10**9
AUTOMATIC = {"train.share_statistics": "without effect: one process"}


def machine(device="cpu", *, bfloat16=False, **facts):
    return Machine(device, "a machine", 4, bfloat16, **facts)


def memory(batch_size, recipe=None, **facts):
    reasons = Reasons()
    found = plan_memory(make_recipe(recipe or {}), batch_size, machine(**facts), reasons)
    return found, reasons.sentences


def precision(recipe=None, **facts):
    reasons = Reasons()
    return plan_precision(make_recipe(recipe or {}), machine(**facts), reasons), reasons.sentences["train.precision"]


def test_a_cpu_takes_bfloat16_only_where_it_was_measured_to_be_faster():
    assert precision()[0] == "float32"
    assert precision(bfloat16_gain=0.8) == (
        "float32",
        "bfloat16 is 0.80 times as fast as float32 here, measured on this network",
    )
    assert precision(bfloat16_gain=1.05)[0] == "float32"  # not worth its rounding
    assert precision(bfloat16_gain=1.3)[0] == "bfloat16"
    assert precision({"train": {"precision": "float32"}}, bfloat16_gain=1.3)[0] == "float32"


def test_a_gpu_takes_the_half_precision_that_it_has():
    assert precision(device="cuda", bfloat16=True)[0] == "bfloat16"
    assert precision(device="cuda")[0] == "float16"


def test_a_step_that_fits_is_taken_at_once():
    found, reasons = memory(32, memory_bytes=16 * GB, image_bytes=100 * 10**6)
    assert found["micro_batch"] == 32
    assert not found["gradient_checkpointing"]
    assert reasons["train.micro_batch"] == "a whole step fits: an image takes 100 MB of 16.0 GB"


def test_a_step_that_does_not_fit_is_taken_in_parts():
    found, reasons = memory(32, memory_bytes=4 * GB, image_bytes=100 * 10**6)  # half of it: 20 images
    assert found["micro_batch"] == 16
    assert not found["gradient_checkpointing"]
    assert "gradients of parts are added up" in reasons["train.micro_batch"]


def test_before_fewer_than_eight_images_blocks_are_computed_twice():
    found, _ = memory(32, memory_bytes=GB, image_bytes=100 * 10**6)  # five images, or nine
    assert not found["gradient_checkpointing"]  # the network cannot
    found, _ = memory(32, memory_bytes=GB, image_bytes=100 * 10**6, can_checkpoint=True)
    assert found["gradient_checkpointing"]
    assert found["micro_batch"] == 8
    found, _ = memory(32, {"train": {"gradient_checkpointing": False}}, memory_bytes=GB, image_bytes=100 * 10**6)
    assert found["micro_batch"] == 4
    assert memory(32, memory_bytes=GB, image_bytes=GB)[0]["micro_batch"] == 2  # two at least


def test_what_nobody_measured_changes_nothing():
    found, reasons = memory(32, memory_bytes=GB)
    assert found["micro_batch"] == 32
    assert reasons["train.gradient_checkpointing"] == "not measured"


def test_the_recipe_is_heard_but_no_part_is_larger_than_the_step():
    assert memory(32, {"train": {"micro_batch": 4}})[0]["micro_batch"] == 4
    assert memory(32, {"train": {"micro_batch": 64}})[0]["micro_batch"] == 32


def test_processes_on_a_cpu_share_its_memory_and_have_their_part_of_the_batch():
    facts = {"memory_bytes": 4 * GB, "image_bytes": 100 * 10**6}
    assert memory(32, processes=2, **facts)[0]["micro_batch"] == 8  # 16 each, of which 10 fit
    assert memory(32, processes=2, device="cuda", **facts)[0]["micro_batch"] == 16


def test_statistics_are_shared_where_each_process_has_few_images():
    assert not memory(8)[0]["share_statistics"]
    assert memory(16, processes=2)[0]["share_statistics"]
    assert not memory(64, processes=2)[0]["share_statistics"]
    assert memory(64, {"train": {"share_statistics": True}}, processes=2)[0]["share_statistics"]


def test_every_process_has_a_batch_as_large_as_one_alone_has():
    sizes = [plan_batch(make_recipe({}), 10_000, (224, 224), machine(processes=n), Reasons()) for n in (1, 2, 4)]
    assert sizes == [32, 64, 128]
    assert plan_batch(make_recipe({}), 160, (224, 224), machine(processes=2), Reasons()) == 16  # still ten steps


@pytest.mark.parametrize(
    ("device", "n_seen", "progressive", "compiled"),
    [("cuda", 10**6, 1.0, True), ("cuda", 10**5, 1.0, False), ("cpu", 10**7, 1.0, False), ("cuda", 10**6, 0.5, False)],
)
def test_compiling_is_for_long_trainings_on_cuda(device, n_seen, progressive, compiled):
    recipe = make_recipe({"train": {"progressive": progressive}})
    can = machine(device, can_compile=device == "cuda")
    assert plan_machine(recipe, can, n_seen, Reasons())["compile"] is compiled


def test_nothing_is_compiled_without_a_compiler_nor_a_head_alone():
    reasons = Reasons()
    assert not plan_machine(make_recipe({}), machine("cuda"), 10**6, reasons)["compile"]
    assert "Triton or a compiler of C is missing" in reasons.sentences["train.compile"]
    head = make_recipe({"train": {"depth": "head"}})
    assert not plan_machine(head, machine("cuda", can_compile=True), 10**6, Reasons())["compile"]


def test_another_number_of_processes_shares_the_same_steps():
    two = plan(batch_size=16, micro_batch=8, processes=2, share_statistics=True, reasons=AUTOMATIC)
    one, four = for_processes(two, 1), for_processes(two, 4)
    assert (one.batch_size, one.micro_batch, one.share_statistics) == (16, 16, False)
    assert (four.batch_size, four.micro_batch, four.share_statistics) == (16, 4, True)
    short = plan(batch_size=16, micro_batch=4, processes=2, reasons=AUTOMATIC)
    assert for_processes(short, 1).micro_batch == 4  # memory was short
    wished = plan(batch_size=64, micro_batch=64, reasons={"train.share_statistics": SET_BY_RECIPE})
    assert not for_processes(wished, 8).share_statistics


def test_more_processes_than_pairs_of_images_are_refused():
    with pytest.raises(RecipeError, match="too few for 4 processes"):
        memory(6, processes=4)
    with pytest.raises(RecipeError, match="too few for 16 processes"):
        for_processes(plan(batch_size=16, reasons=AUTOMATIC), 16)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_one_image_at_a_time_is_not_mixed(kind):
    with pytest.raises(RecipeError, match="no other to be mixed with"):
        memory(8, {"train": {"micro_batch": 1, kind: 0.5}})
    assert memory(8, {"train": {"micro_batch": 2, kind: 0.5}})[0]["micro_batch"] == 2
