"""Tests of ccproxy."""
