"""What of a run lets continuous integration pass: the policy and its outcomes (`gate`), and `ftp gate` (`command`)."""
