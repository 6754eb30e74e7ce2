"""Figures, plots and tables, written into docs/."""
