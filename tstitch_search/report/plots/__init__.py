"""The plots, one file each: a `Record` comes in, a plotly figure goes out."""
