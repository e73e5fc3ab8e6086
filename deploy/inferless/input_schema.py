"""What `infer` takes, in the words of Inferless."""

INPUT_SCHEMA = {
    "img_url": {
        "datatype": "STRING",
        "required": True,
        "shape": [1],
        "example": ["https://example.org/photo.jpg"],
    },
    "text": {
        "datatype": "STRING",
        "required": False,
        "shape": [1],
        "example": ["a photography of"],
    },
}
