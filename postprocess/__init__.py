"""Network output -> answer, in NumPy; importable without Triton."""
