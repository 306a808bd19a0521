"""The comparison of CNNs for tagging: nine networks, three of them with more bands as well."""

from models.report.published.table import PublishedTable

TABLE = PublishedTable(
    name="won2020",
    authors="Won, Ferraro, Bogdanov and Serra",
    title="Evaluation of CNN-based automatic music tagging models (2020)",
    note="Theirs are of full-width networks after 200 epochs; a clip is 16 windows averaged.",
    n_test={"mtat-clean": 4332},
)
