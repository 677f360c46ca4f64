"""The command `tritone`."""


def main() -> None:
    """Run the command `tritone`."""
    from tritone_client.cli.app import run

    run()
