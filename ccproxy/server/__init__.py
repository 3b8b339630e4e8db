"""What runs beside the APIs: today the scripted Messages API of ``--demo``."""
