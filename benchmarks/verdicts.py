"""Whether a study's verdicts are what other clips would repeat: the rule beside the old one.

``simulated`` makes studies of known truth, ``halves`` takes real clips and asks whether one half
says what the other does, ``planted`` hides a truth in the sound. Each says more by ``--help``.
"""

import click

from benchmarks.halves import halves
from benchmarks.planted import planted
from benchmarks.simulated_studies import simulated


@click.group(help=__doc__)
def main() -> None:
    """The parts, a command each."""


for _command in (simulated, halves, planted):
    main.add_command(_command)


if __name__ == "__main__":
    main()
