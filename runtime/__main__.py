"""`python -m automask`: the command line."""

from .cli import main

main(prog_name="automask")
