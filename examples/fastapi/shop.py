"""A FastAPI app that knows nothing of Portico."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/")
def home(request: Request) -> dict[str, str]:
    return {"hello": "from FastAPI", "visitor": request.headers["x-forwarded-for"]}
