import facts
from fastapi import FastAPI

app = FastAPI()
app.mount("/facts", facts.asgi)


@app.get("/")
async def root():
    return {"kind": "fastapi"}
