"""`python -m proxygold`, the command itself: `accelerate launch -m proxygold run study.yaml` starts several of it."""

from proxygold.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
