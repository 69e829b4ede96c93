"""One self-contained HTML page about one study, from its lookup table, ledger and sample images alone."""

from tstitch_search.report.live import LiveReport as LiveReport
from tstitch_search.report.pictures import write_pictures as write_pictures
from tstitch_search.report.writing import write_report as write_report
