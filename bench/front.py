"""`python -m bench.front`, by its name before version 0.2; now `python -m bench.conv_front_end`."""

from bench.conv_front_end import main

if __name__ == "__main__":
    main()
