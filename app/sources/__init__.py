"""The services that know what was watched, one file each."""
