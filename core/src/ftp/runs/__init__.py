"""One run from plugin names to run folder, and what a run can be before and after: planned, resumed, staged, finished."""
