"""The web page of `tritone web`: a thin client of the server, built with Gradio (extra `web`)."""
