"""The versions of everything that is installed, and what writes and checks them."""
