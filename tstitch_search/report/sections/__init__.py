"""The sections of the page, one file each: a `Record` comes in, HTML goes out."""
