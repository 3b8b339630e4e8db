"""The CLI's own loop: history told turn by turn, the client's tools by manifest."""
