"""Who is served by which CLI process, and when."""
