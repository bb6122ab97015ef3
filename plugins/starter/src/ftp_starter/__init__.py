"""Models that come with ftp, so that a first run needs no network."""
