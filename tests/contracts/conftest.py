"""The scripts in doors/ run in processes of their own: they are no tests."""

collect_ignore = ["doors"]
