from fastapi import FastAPI

import facts

app = FastAPI()
app.mount("/facts", facts.asgi)


@app.get("/")
async def root():
    return {"kind": "fastapi"}
