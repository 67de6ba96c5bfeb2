"""Fuzzes every reader of foreign text (README.md): with atheris where that is installed, else by blind mutation."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

SLOW = 2.0  # seconds of the processor for one input: that is a find as well
MOST = 20_000  # bytes of an input


def mutate(draw: random.Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """The same with a few changes."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randint(0, len(made))
        end = min(len(made), at + draw.choice((0, 1, 1, 2, 4, 16, 64)))
        match draw.randrange(7):
            case 0:
                made[at:end] = b""
            case 1:
                made[at:at] = made[at:end] * draw.choice((1, 2, 50))
            case 2:
                made[at:end] = draw.randbytes(end - at)
            case 3 | 4 if words:
                made[at : draw.choice((at, end))] = draw.choice(words)
            case 5:
                other = draw.choice(others)
                begin = draw.randint(0, len(other))
                made[at:end] = other[begin : begin + draw.randint(0, 40)]
            case _ if at < len(made):
                made[at] ^= 1 << draw.randrange(8)
            case _:
                made += draw.randbytes(1)
    return bytes(made[:MOST])


def find_by_mutation(
    run: Callable[[bytes], None], seeds: Sequence[bytes], words: Sequence[bytes], seconds: float, seed: int
) -> tuple[int, bytes | None]:
    """How many inputs were tried, and the one that failed (its traceback is printed), if any."""
    draw = random.Random(seed)
    pool = list(seeds)
    end = time.monotonic() + seconds
    tried = 0
    while not tried or time.monotonic() < end:
        data = pool[tried] if tried < len(seeds) else mutate(draw, draw.choice(pool), pool, words)
        tried += 1
        started = time.thread_time()
        try:
            run(data)
        except Exception:  # noqa: BLE001 - that is what is looked for
            traceback.print_exc()
            return tried, data
        if time.thread_time() - started > SLOW:
            print(f"it took {time.thread_time() - started:.1f} s", file=sys.stderr)
            return tried, data
        if draw.random() < 0.02:
            pool[len(seeds) :] = [*pool[len(seeds) :][-200:], data]
    return tried, None


def with_atheris(name: str, folder: str, seconds: int, seed: int) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["bridge"]):
        from bench.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = Path(folder)
    for number, data in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(data)
    words = [
        '"' + "".join(rf"\x{byte:02x}" for byte in word) + '"' for word in target.words if len(word) <= 64
    ]
    dictionary = corpus.parent / "words"
    dictionary.write_text("\n".join(words or ['"0"']))  # libFuzzer takes no empty one
    atheris.Setup(
        [
            sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MOST}", "-timeout=10",
            f"-dict={dictionary}", "-print_final_stats=1", str(corpus),
        ],
        target.run,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="for all targets together")
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="by mutation, though atheris is there")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        with_atheris(chosen.inside[0], chosen.inside[1], int(chosen.seconds), chosen.seed)
    guided = importlib.util.find_spec("atheris") is not None and not chosen.blind
    from bench.fuzz.targets import TARGETS

    names = [name for name in TARGETS if chosen.only in name]
    share = chosen.seconds / max(1, len(names))
    print(f"{len(names)} targets, {share:.1f} s each, {'guided by coverage' if guided else 'blind mutation'}")
    failed = 0
    for name in names:
        if guided:
            failed += _guided(name, share, chosen.seed)
            continue
        target = TARGETS[name]
        tried, found = find_by_mutation(target.run, target.seeds, target.words, share, chosen.seed)
        print(f"{name:20} {tried:>9,} inputs{'' if found is None else f'  FOUND: {found[:300]!r}'}")
        failed += found is not None
    return 1 if failed else 0


def _guided(name: str, seconds: float, seed: int) -> bool:
    with TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        command = [sys.executable, __file__, "--seconds", str(max(1, int(seconds))), "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--inside", name, str(corpus)],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stderr.splitlines()
        runs = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
        print(f"{name:20} {runs:>9} inputs{'' if done.returncode == 0 else '  FOUND:'}", flush=True)
        if done.returncode:
            print("\n".join(lines[-40:]))
            for crash in Path(scratch).glob("*-*"):
                with contextlib.suppress(OSError):
                    print(f"{crash.name}: {crash.read_bytes()[:300]!r}")
        return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
