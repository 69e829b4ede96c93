"""One self-contained HTML page about one study, from its lookup table, ledger and sample images alone.

`writing.write_report` writes it, `live.LiveReport` keeps it up to date, `pictures.write_pictures` draws its plots as
files. None is imported here, so that the terminal's tables can share its wording without loading plotly.
"""
