"""Messages as JSON Schemas, as the gateway prints and reads them."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.api import field_behavior_pb2, field_info_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.rpc import error_details_pb2

Json = dict[str, Any]

PACKAGE = "orca.v1"
STATUS = "google.rpc.Status"
_DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.ResourceInfo,
)
_NOT_ALWAYS = "metadata"
"""What the gateway's own errors lack."""

WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
}
_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 4294967295},
    # JSON of protos prints what a double cannot hold as text.
    FieldDescriptor.TYPE_INT64: {"type": "string", "pattern": r"^-?\d+$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "pattern": r"^\d+$"},
}
_UUID_FORMATS = (field_info_pb2.FieldInfo.UUID4,)


def ref(name: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def behaviours(field: FieldDescriptor) -> set[str]:
    """Names of the field's behaviours, such as REQUIRED."""
    values = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return {field_behavior_pb2.FieldBehavior.Name(value) for value in values}


def message_of(field: FieldDescriptor) -> Descriptor:
    """The type of a field that holds a message.

    Raises:
        ValueError: If it holds none.
    """
    if field.message_type is None:
        raise ValueError(f"{field.full_name} is no message")
    return field.message_type


class Schemas:
    """The schemas of the document, made as they are asked for."""

    def __init__(self, comments: Mapping[str, str], requests: Iterable[Descriptor]) -> None:
        """Knows which messages are sent to us.

        Args:
            comments: By full name.
            requests: The input types of all methods.
        """
        self.comments = comments
        self.made: dict[str, Json] = {}
        self._taken_in: set[str] = set()
        for request in requests:
            self._take_in(request)

    def _take_in(self, message: Descriptor) -> None:
        if message.full_name not in self._taken_in:
            self._taken_in.add(message.full_name)
            for field in message.fields:
                if field.message_type is not None:
                    self._take_in(field.message_type)

    def of(self, message: Descriptor) -> Json:
        """The schema of a message, as a reference."""
        if message.full_name in WELL_KNOWN:
            return WELL_KNOWN[message.full_name]
        name = message.full_name.removeprefix(f"{PACKAGE}.")
        if name not in self.made:
            self.made[name] = {}  # it may hold itself
            self.made[name] = self._object(message, message.fields)
        return ref(name)

    def partial(self, message: Descriptor) -> Json:
        """The schema of a resource in an update, where nothing must be sent."""
        whole = self.resolved(self.of(message))
        name = f"{message.full_name.removeprefix(f'{PACKAGE}.')}.Update"
        self.made[name] = {key: value for key, value in whole.items() if key != "required"}
        return ref(name)

    def without(self, message: Descriptor, left_out: Iterable[str]) -> Json:
        """The schema of a request but for the fields that stand in its path."""
        name = message.full_name.removeprefix(f"{PACKAGE}.")
        fields = [field for field in message.fields if field.name not in left_out]
        self.made[name] = self._object(message, fields)
        return ref(name)

    def resolved(self, schema: Json) -> Json:
        """What a reference points to."""
        return self.made[schema["$ref"].rpartition("/")[2]]

    def type_of(self, field: FieldDescriptor) -> Json:
        """The schema of a field's value."""
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = self._single(kind.fields_by_name["value"])
            return {"type": "object", "additionalProperties": value}
        single = self._single(field)
        return {"type": "array", "items": single} if field.is_repeated else single

    def _object(self, message: Descriptor, fields: Iterable[FieldDescriptor]) -> Json:
        fields = list(fields)
        schema: Json = {
            "type": "object",
            "description": self.comments.get(message.full_name, ""),
            "properties": {field.name: self._property(field) for field in fields},
        }
        required = [field.name for field in fields if self._is_required(message, field)]
        return schema | ({"required": required} if required else {})

    def _is_required(self, message: Descriptor, field: FieldDescriptor) -> bool:
        """Whether it must be sent or, if only we give it, is always printed.

        The gateway prints all fields but those that can be unset. OpenAPI asks for a required
        field that is read-only in answers alone.
        """
        about = behaviours(field)
        if "REQUIRED" in about:
            return True
        ours = "OUTPUT_ONLY" in about or message.full_name not in self._taken_in
        return ours and not field.has_presence

    def _property(self, field: FieldDescriptor) -> Json:
        about = behaviours(field)
        schema = {**self.type_of(field), "description": self.comments.get(field.full_name, "")}
        return schema | ({"readOnly": True} if "OUTPUT_ONLY" in about else {})

    def _single(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self.of(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        info = field.GetOptions().Extensions[field_info_pb2.field_info]
        more = {"format": "uuid"} if info.format in _UUID_FORMATS else {}
        return _SCALARS[field.type] | more

    def _enum(self, enum: EnumDescriptor) -> Json:
        name = enum.full_name.removeprefix(f"{PACKAGE}.")
        values = [
            f"* `{value.name}`: {self.comments[f'{enum.full_name}.{value.name}']}"
            for value in enum.values
        ]
        self.made[name] = {
            "type": "string",
            "description": "\n".join([self.comments[enum.full_name], *values]),
            "enum": [value.name for value in enum.values],
        }
        return ref(name)


def status_schemas() -> dict[str, Json]:
    """The schemas of an error and of its details."""
    schemas = Schemas({}, ())
    names = []
    for detail in _DETAILS:
        name = schemas.of(detail.DESCRIPTOR)["$ref"].rpartition("/")[2]
        always = [each for each in schemas.made[name].get("required", ()) if each != _NOT_ALWAYS]
        kind = {"@type": {"const": f"type.googleapis.com/{name}"}}
        made = schemas.made[name]
        schemas.made[name] = {
            "type": "object",
            "properties": kind | made["properties"],
            "required": ["@type", *always],
        }
        names.append(name)
    status = {
        "type": "object",
        "description": "An error: `code` is the number of the gRPC status, `details` begin with an "
        "`ErrorInfo` whose `reason` is stable.",
        "properties": {
            "code": {"type": "integer", "format": "int32"},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"anyOf": [ref(name) for name in names]}},
        },
        "required": ["code", "message", "details"],
    }
    return schemas.made | {STATUS: status}
