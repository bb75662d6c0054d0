"""`make bench`: runs the benchmarks, or those named: ``make bench ARGS=turns``."""

from __future__ import annotations

import argparse
import runpy
import sys

BENCHMARKS = (
    *("catalogue_check", "turns", "transcript", "serving", "startup", "retrieval_scale"),
    *("rollout_soak", "swap", "canary", "aggregators", "rounds_scale", "federated_round", "personalisation"),
)


def main() -> None:
    """Runs each benchmark as if called by itself, without arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHMARKS, []], help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    names = parser.parse_args().names or BENCHMARKS
    for name in names:
        print(f"# {name}", flush=True)
        sys.argv = [f"benchmarks.{name}"]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
