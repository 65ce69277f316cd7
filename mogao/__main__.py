"""`python -m mogao` is the command `mogao`."""

from mogao.cli import main

if __name__ == "__main__":
    main()
