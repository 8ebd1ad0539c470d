"""Calculate from a rate of calls: replicas, waiting time, latency and cost.

    python benchmarks/capacity.py --rate 50 --price 0.53

The time of a pass comes from the figures of the question `capacity`; `--faster` scales it to other hardware.
"""

from __future__ import annotations

import argparse
import json
from math import inf
from pathlib import Path

from harness.capacity_plan import HOSTED_PER_CALL, fewest_servers, plan_table
from harness.machine import ROOT
from harness.queueing import Work

FIGURES = ROOT / "benchmarks" / "results" / "capacity.json"


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--price", type=float, required=True, help="dollars an hour for one server")
    parser.add_argument("--hits", type=float, default=0.0, help="share of calls on a cached photo, 0..1 (default: 0)")
    parser.add_argument("--prompts", type=int, default=1, help="prompts of a call (default: 1)")
    parser.add_argument("--p95", type=float, default=inf, help="seconds that 95 of 100 calls may take (default: any)")
    parser.add_argument("--busy", type=float, default=0.7, help="highest utilisation of a server, 0..1 (default: 0.7)")
    parser.add_argument(
        "--faster", type=float, default=1.0, help="speed of your server relative to the measured one (default: 1)"
    )
    parser.add_argument(
        "--figures", type=Path, default=FIGURES, help="figures of `run.py capacity` (default: results/capacity.json)"
    )
    return parser


def main() -> None:
    """Print the plan."""
    parser = build_parser()
    arguments = parser.parse_args()
    setup = next(iter(json.loads(arguments.figures.read_text())["figures"]["setups"].values()))
    work = Work.measured(setup, hits=arguments.hits, prompts=arguments.prompts).sped_up(arguments.faster)
    try:
        queue = fewest_servers(arguments.rate, work, most_busy=arguments.busy, p95=arguments.p95)
    except ValueError as error:
        parser.error(str(error))
    print(plan_table([queue], arguments.price))
    print(f"The hosted API: ${1e6 * HOSTED_PER_CALL:,.0f} per million calls.")


if __name__ == "__main__":
    main()
