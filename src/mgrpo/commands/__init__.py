"""The subcommands of `mgrpo`, one file each."""
