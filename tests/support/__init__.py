"""What several folders of tests use: recordings, small systems and servers, reference answers, commands."""
