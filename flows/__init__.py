"""The Prefect flows and the command line: what runs, in which order, with which retries. Start at `pipeline.py`."""
