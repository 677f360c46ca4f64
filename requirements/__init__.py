"""The pinned versions of all dependencies, and the tools that write, install and audit them."""
