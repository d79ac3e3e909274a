"""A small team for the tests that need some tools and no more."""

from langchain_core.tools import tool
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


@tool
def get_person(name: str) -> Person:
    """Look a person up."""
    return Person(name=name, age=len(name))


@tool
async def get_team() -> list[Person]:
    """List the team."""
    return [Person(name="Ada", age=36), Person(name="Bob", age=4)]
