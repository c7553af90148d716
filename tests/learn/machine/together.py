"""What each of two processes runs in test_team: a short training together; started by torchrun."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from effmed.learn.bundle import weights_digest
from effmed.learn.fitting import fit, predict_logits, start_training
from effmed.learn.fitting.scores import cross_entropy
from effmed.learn.loader import ordered_batches
from effmed.learn.machine.team import joined
from effmed.learn.network import build_network
from tests.learn import make


def main(folder, changes):
    torch.set_num_threads(1)
    plan = make.plan(**changes)
    with joined() as team:
        torch.manual_seed(plan.seed)
        state = start_training(build_network(plan), plan, team)
        epochs = list(fit(state, make.images(40), make.images(21, seed=1), plan, team))
        val = make.images(21, seed=1)
        alone = cross_entropy(predict_logits(state.judged, ordered_batches(val, plan), plan), val.truth)
        found = {
            "epochs": [asdict(epoch) for epoch in epochs],
            "weights": weights_digest(state.network),
            "alone": alone,
        }
        Path(folder, f"{team.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
