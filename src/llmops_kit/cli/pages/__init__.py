"""Pages of reports: one self-contained HTML file each."""
