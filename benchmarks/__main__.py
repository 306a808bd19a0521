"""All benchmarks, one after the other: ``python -m benchmarks [--audio …] --save``."""

import subprocess
import sys

import click

from benchmarks.corpus import audio_option
from benchmarks.page import save_option

ON_AUDIO = (
    "featurize", "peers", "stages", "choices", "encodings", "reading", "waiting", "sound",
    "perturbations", "conditions", "tagging",
)  # fmt: skip
OTHERS = ("many_arrays", "long_tracks", "million", "import_time", "injuries", "kills")


@click.command(help=__doc__)
@audio_option
@save_option
def main(audio: str | None, save: bool) -> None:
    """Run each in a process of its own."""
    shared = ["--save"] if save else []
    for name in (*ON_AUDIO, *OTHERS):
        print(f"\n{name}\n", flush=True)
        own = ["--audio", audio] if audio and name in ON_AUDIO else []
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *own, *shared], check=True)


if __name__ == "__main__":
    main()
