"""The second report on MagnaTagATune: the best of each kind of network, by depth."""

from models.report.published.table import PublishedTable

TABLE = PublishedTable(
    name="mtat_report_2",
    authors="the second report on MagnaTagATune",
    note="Its PR AUC, near 50 % where other studies have 43, says that its split or its average is "
    "another one: compare the order of the networks, not the values.",
    n_test={},
    is_comparable=False,
)
