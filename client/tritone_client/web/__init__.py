"""The web page of `tritone web`: a thin client of the server for people, built with Gradio (extra `web`)."""
