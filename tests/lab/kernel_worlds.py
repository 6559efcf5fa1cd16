"""Random worlds for the kernel and the core: small, but every policy, tie and trouble is in some of them."""

from __future__ import annotations

from random import Random

import numpy as np

from cellwall.capacity import Costs
from cellwall.spec import MetadataPolicy, RenewalPolicy, RetryPolicy
from cellwall_lab.backends.chance import beginnings
from cellwall_lab.backends.timeline import NS
from cellwall_lab.kernel.build import whole_parts
from cellwall_lab.kernel.model import Accounts, Action, Cut, KernelInput, Limit, Pause, Resume, Weight


def random_world(number: int, *, trace: bool = True) -> KernelInput:
    """World ``number``: the same one always. A third of them in whole tenths of seconds, so that much is at once."""
    rng = Random(f"kernel world {number}")
    coarse = rng.random() < 0.33
    servers, cells, nodes = rng.randint(3, 60), rng.randint(1, 4), rng.choice([1, 1, 2, 3])
    renewal, metadata = _renewal(rng, coarse), _metadata(rng)
    sizes = [rng.choice([1, 50, rng.randint(1, 2000)]) for _ in range(rng.randint(1, 4))]
    records = np.array([rng.choice(sizes) for _ in range(servers)])
    costs = Costs(0.0001, 0.001) if coarse else Costs(rng.uniform(1e-6, 1e-4), rng.choice([0.0, rng.uniform(0, 3e-3)]))
    # Against the capacity at which everybody could just be served once in a time limit.
    one_limit = (records.sum() * costs.c_record_s + servers * costs.c_request_s) / renewal.time_limit_s
    cores = one_limit / cells / nodes * 10 ** rng.uniform(-1.2, 0.6)
    shape = (cells, nodes)
    until_s = rng.uniform(3, 6) * renewal.renew_every_s
    return KernelInput(
        cell=np.array([rng.randrange(cells) for _ in range(servers)]),
        partition=np.array([rng.randrange(metadata.partitions) for _ in range(servers)]),
        records=records,
        chance=np.array(beginnings(number, servers), np.uint64),
        cores=np.full(shape, cores) * (1 if coarse else np.array([rng.uniform(0.5, 1.5) for _ in range(nodes)])),
        renewal=renewal,
        metadata=metadata,
        costs=costs,
        accounts=_accounts(rng, servers),
        actions=_actions(rng, coarse, servers, cells, metadata.partitions, until_s),
        until_ns=int(until_s * NS),
        window_ns=rng.choice([NS, int(rng.uniform(0.3, 50) * NS)]),
        trace=trace,
    )


def _renewal(rng: Random, coarse: bool) -> RenewalPolicy:
    limit_s = rng.choice([0.5, 1.0, 2.0]) if coarse else rng.uniform(0.05, 3.0)
    low_s = rng.choice([0.1, 0.5]) if coarse else rng.choice([1e-4, rng.uniform(0.001, 1.0)])
    wait_max_s = low_s if coarse and rng.random() < 0.7 else low_s + rng.uniform(0, 1.0)
    return RenewalPolicy(
        renew_every_s=limit_s * rng.choice([3, 5, 10]),
        jitter_ratio=0.0 if coarse else rng.uniform(0, 0.9),
        time_limit_s=limit_s,
        retry=RetryPolicy(wait_min_s=low_s, wait_max_s=wait_max_s),
    )


def _metadata(rng: Random) -> MetadataPolicy:
    return MetadataPolicy(
        discipline=rng.choice(["processor-sharing", "processor-sharing", "fifo", "lifo"]),
        concurrency=rng.randint(1, 8),
        drop_abandoned=rng.random() < 0.7,
        page_records=rng.choice([1, 10, 50, 50, 5000]),
        partitions=rng.randint(1, 6),
        slots_per_partition=rng.choice([1, 2, 10, 200]),
        admin_lane=rng.choice(["shared", "own"]),
    )


def _accounts(rng: Random, servers: int) -> Accounts:
    count = rng.randint(1, 5)
    account = list(range(count)) + [rng.randrange(count) for _ in range(rng.randint(0, 20))]
    shares = [rng.random() for _ in account]
    parts = [0] * len(account)
    for number in range(count):
        mine = [i for i, owner in enumerate(account) if owner == number]
        total = sum(shares[i] for i in mine)
        for i, part in zip(mine, whole_parts([shares[i] / total for i in mine]), strict=True):
            parts[i] = part
    return Accounts(
        servers=np.array([rng.sample(range(servers), 3) for _ in account]),
        account=np.array(account),
        parts=np.array(parts),
        weight=np.array([rng.uniform(0.1, 5) for _ in range(count)]),
        eventual_ratio=rng.random(),
    )


def _actions(
    rng: Random, coarse: bool, servers: int, cells: int, partitions: int, until_s: float
) -> tuple[Action, ...]:
    """Everybody let in, then up to a dozen things at any time, also while others still last."""

    def ns(seconds: float) -> int:
        return round(round(seconds, 1) * NS) if coarse else round(seconds * NS)

    over_s = rng.uniform(0, until_s / 4)
    actions: list[Action] = [Resume(0, cell, ns(over_s)) for cell in range(cells)]
    for _ in range(rng.randint(0, 12)):
        at_ns, cell = ns(rng.uniform(0, until_s * 1.05)), rng.randrange(cells)
        match rng.choice(["cut", "cut", "limit", "pause", "resume", "weight"]):
            case "cut":
                struck = rng.sample(range(servers), rng.randint(0, servers))
                actions.append(Cut(at_ns, 1 + ns(rng.choice([0.0, rng.uniform(0, until_s / 4)])), tuple(struck)))
            case "limit":
                actions.append(Limit(at_ns, cell, rng.choice([0.5, 2.0, rng.uniform(0.2, 3)])))
            case "pause":
                actions.append(Pause(at_ns, cell))
                if rng.random() < 0.7:
                    actions.append(Resume(at_ns + ns(rng.uniform(0, until_s / 3)), cell, ns(rng.uniform(0, 10))))
            case "resume":
                actions.append(Resume(at_ns, cell, rng.choice([0, ns(rng.uniform(0, 10))])))
            case _:
                actions.append(Weight(at_ns, cell, rng.randrange(partitions), rng.choice([0.0, 33.3, 50.0, 100.0])))
    return tuple(actions)
