"""The resolution study: two networks at many resolutions, on two collections."""

from models.report.published.table import PublishedTable

TABLE = PublishedTable(
    name="ferraro2020",
    authors="Ferraro, Bogdanov, Jeon, Yoon and Serra",
    title="Music auto-tagging using CNNs and mel-spectrograms with reduced frequency and time "
    "resolution (2020)",
    note="Theirs are of full-width networks, means over three runs, with a standard deviation "
    "where they give one.",
    n_test={"mtat": 5329, "msd": 28435},
)
