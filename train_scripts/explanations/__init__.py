"""Why a model answers as it does, and what each code knows."""
