"""An unmodified FastAPI app."""

import fastapi
import probe

app = fastapi.FastAPI()


@app.get("/facts")
def facts(request: fastapi.Request):
    headers = [[name, value] for name, value in request.headers.items()]
    return probe.facts(headers, request.scope.get("root_path", ""), request.url.path)
